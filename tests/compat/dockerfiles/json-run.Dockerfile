FROM corpus-base
RUN ["echo", "$PATH"]
