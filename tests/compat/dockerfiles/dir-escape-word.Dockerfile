# escape=`
FROM scratch
ENV A=1
LABEL a=`$A b=\$A c="`"" d='`'
