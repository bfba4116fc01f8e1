FROM corpus-tree
RUN --mount=target=/ctx find /ctx | sort > /seen && cat /ctx/a.txt > /copied
