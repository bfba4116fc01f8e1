FROM corpus-tree
COPY --chown=nobodyhere a.txt /g
