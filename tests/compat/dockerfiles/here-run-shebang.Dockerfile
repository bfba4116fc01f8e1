FROM corpus-base
RUN <<EOF
#!/bin/sh
echo a
EOF
