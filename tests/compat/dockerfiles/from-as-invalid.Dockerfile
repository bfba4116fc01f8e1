FROM scratch AS 1one
