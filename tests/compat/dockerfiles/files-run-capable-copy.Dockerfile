FROM corpus-tree
COPY capable /c
RUN mv /c /c2 && chmod 711 /c2
