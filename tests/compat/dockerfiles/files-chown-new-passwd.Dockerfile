FROM corpus-tree
RUN echo "fresh:x:77:78::/:/bin/sh" >> /etc/passwd
COPY --chown=fresh a.txt /f
