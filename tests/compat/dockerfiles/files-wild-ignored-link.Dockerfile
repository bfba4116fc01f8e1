FROM corpus-tree
COPY d/up* d/di* /w/
COPY p/*/g* /v/
