FROM corpus-tree
RUN rm -r /full && mkdir /full && echo new > /full/new
