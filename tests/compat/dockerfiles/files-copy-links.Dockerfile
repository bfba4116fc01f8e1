FROM corpus-tree
COPY link linklink d/dirlink /links/
