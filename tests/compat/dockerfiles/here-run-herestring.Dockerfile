FROM corpus-base
RUN true || cat <<<x
