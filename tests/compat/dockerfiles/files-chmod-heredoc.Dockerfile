FROM corpus-tree
COPY --chmod=755 --chown=5:6 <<EOF /x/run.sh
#!/bin/sh
EOF
