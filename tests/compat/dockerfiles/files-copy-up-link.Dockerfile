FROM corpus-tree
RUN ln -s ../../../real /up && ln -s up /up2
COPY a.txt /up2/sub/f
WORKDIR /up2/new
COPY a.txt .
