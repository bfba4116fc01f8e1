FROM scratch foo
