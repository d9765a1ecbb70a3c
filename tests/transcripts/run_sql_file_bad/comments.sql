-- nothing
/* but
   comments */ ;
# and one more
