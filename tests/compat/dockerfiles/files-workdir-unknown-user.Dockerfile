FROM corpus-tree
USER nobodyhere
WORKDIR /w/x
USER app:nogrouphere
WORKDIR /w/y
