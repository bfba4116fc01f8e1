FROM corpus-base
WORKDIR /app
COPY a ./
RUN true
COPY . .
EXPOSE 3000
CMD ["npm", "start"]
