FROM corpus-tree
RUN touch /full/.wh_not /full/x.wh. && mkdir /full/.w
