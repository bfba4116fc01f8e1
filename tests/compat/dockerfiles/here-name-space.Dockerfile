FROM scratch
COPY << EOF /f
