FROM scratch
LABEL größe="ü ✓" 名=​
