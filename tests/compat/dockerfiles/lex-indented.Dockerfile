  FROM scratch
	LABEL a=b
   # comment
  LABEL c=d
