FROM corpus-tree
ADD t.tar /var/run
ADD flat.tar /var/rel/
