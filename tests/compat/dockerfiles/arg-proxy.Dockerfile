FROM corpus-base
LABEL a=$HTTP_PROXY
RUN test "$http_proxy" = http://p
