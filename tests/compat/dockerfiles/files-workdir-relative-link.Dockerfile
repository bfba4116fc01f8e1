FROM corpus-tree
WORKDIR /var/rel
COPY a.txt .
RUN echo x > y
