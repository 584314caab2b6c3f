"""What a run or a sweep's cell comes to, computed once from its journal."""
