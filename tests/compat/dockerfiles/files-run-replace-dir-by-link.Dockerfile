FROM corpus-tree
RUN rm -r /full && ln -s real /full
COPY a.txt /full/
