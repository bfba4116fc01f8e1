FROM corpus-tree
RUN cat /full/a > /t && cat /t > /full/a && rm /t
