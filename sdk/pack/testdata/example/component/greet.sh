#!/bin/sh
. lib/words.sh
echo "$WORD" >ready
exec sleep 1000000
