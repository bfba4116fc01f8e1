FROM corpus-base
RUN echo "a  b" 'c' \$x
