ARG a=scr
ARG b=${a}atch
FROM $b
