FROM corpus-base
RUN --foo true
