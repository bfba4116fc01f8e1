FROM corpus-tree
RUN rm -r /full && echo file > /full
