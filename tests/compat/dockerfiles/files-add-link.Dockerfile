FROM corpus-tree
ADD link dlink /x/
