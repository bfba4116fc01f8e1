# escape=`
FROM scratch
LABEL a=C:\x `
 b=c
