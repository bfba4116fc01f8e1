FROM corpus-base
RUN ["echo", "<<EOF"]
