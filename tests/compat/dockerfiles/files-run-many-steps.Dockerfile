FROM corpus-tree
RUN mkdir /m
RUN touch /m/a
RUN rm /m/a && touch /m/b
RUN rm -r /m
RUN mkdir /m && touch /m/c
