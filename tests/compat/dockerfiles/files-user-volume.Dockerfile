FROM corpus-tree
USER app
VOLUME /home/app/v
WORKDIR /home/app/v/w
COPY a.txt .
