FROM corpus-tree
VOLUME /full /vol
RUN touch /full/x /full/sub/y; mkdir -p /vol; touch /vol/z
