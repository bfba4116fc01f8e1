FROM corpus-onbuild
LABEL z=$O
