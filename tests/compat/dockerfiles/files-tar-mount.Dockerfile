FROM corpus-tree
RUN --mount=target=/ctx ls -ln /ctx /ctx/own | sed "s/  */ /g" | cut -d" " -f1,3,4,5,9- | grep -v Dockerfile > /seen
