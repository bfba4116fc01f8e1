FROM corpus-tree
RUN d=$(printf "%0120d" 0) && mkdir -p /$d/$d && echo x > /$d/$d/$d && ln -s $d/$d/$d /long-link && ln /$d/$d/$d /hard-long
