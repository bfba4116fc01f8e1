FROM corpus-tree
COPY d /real/x
COPY a.txt /real/y/z/f
WORKDIR /real/w/v
ADD flat.tar /real/u/
COPY --chmod=700 a.txt /real/t/f
COPY --chown=:9 a.txt /real/s/f
COPY a.txt /real/f
RUN mkdir /real/r && touch /real/q
