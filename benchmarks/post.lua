-- wrk sends a body of so many bytes: wrk -s post.lua URL -- BYTES
function init(args)
  wrk.method = "POST"
  wrk.body = string.rep("x", tonumber(args[1]))
end
