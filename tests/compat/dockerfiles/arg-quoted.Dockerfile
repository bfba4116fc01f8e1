FROM scratch
ARG A="x $B" C='$B'
LABEL a=$A c=$C
