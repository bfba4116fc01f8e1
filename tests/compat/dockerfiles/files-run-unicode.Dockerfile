FROM corpus-tree
RUN touch "/ünï" "/tab$(printf '\011')b" && touch "/new$(printf '\012l')ine" && mkdir "/ sp " && printf x > "/$(printf '\377\376')" 
