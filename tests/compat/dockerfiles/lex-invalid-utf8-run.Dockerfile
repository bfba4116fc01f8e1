FROM corpus-base
RUN echo ÿ
