FROM corpus-tree
RUN rm /full/a && rm -r /full/sub
RUN rm -r /full
