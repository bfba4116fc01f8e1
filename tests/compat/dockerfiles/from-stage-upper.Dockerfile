FROM scratch AS one
FROM One
