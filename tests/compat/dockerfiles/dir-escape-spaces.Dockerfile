#   Escape  =  `  
FROM scratch
LABEL a=b `
 b=c
