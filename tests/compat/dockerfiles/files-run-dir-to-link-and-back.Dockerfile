FROM corpus-tree
RUN mv /full /f2 && ln -s f2 /full
RUN rm /full && mv /f2 /full
