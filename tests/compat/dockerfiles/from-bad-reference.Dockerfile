FROM UPPER/case:tag
